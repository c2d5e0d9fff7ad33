"""Only sidecar/authorize makes permits (PROMISES 1)."""

import ast
from pathlib import Path

import pytest

import sidecar
from sidecar.authorize.permit import SEAL, Permit
from sidecar.model.reason import Reason
from sidecar.model.route import Access, Route

ROOT = Path(sidecar.__file__).parent
ROUTE = Route(
    name="r", host=None, template="/", methods=frozenset(), access=Access.PUBLIC, upstream="app"
)


def makes_permits(tree: ast.AST) -> list[int]:
    """Lines that construct a `Permit`, copy one, or take its seal."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for part in ast.walk(node.func):
                name = part.id if isinstance(part, ast.Name) else getattr(part, "attr", "")
                if name == "Permit":
                    found.append(node.lineno)
            arguments = [part.id for part in node.args if isinstance(part, ast.Name)]
            if "Permit" in arguments and ast.unparse(node.func) not in {"isinstance", "cast"}:
                found.append(node.lineno)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").endswith("authorize.permit"):
            found += [node.lineno for alias in node.names if alias.name != "Permit" or alias.asname]
        elif isinstance(node, ast.Import):
            found += [node.lineno for alias in node.names if "authorize.permit" in alias.name]
        elif isinstance(node, ast.ClassDef):
            found += [node.lineno for base in node.bases if ast.unparse(base).endswith("Permit")]
    return found


def test_nobody_else_makes_permits() -> None:
    for path in ROOT.rglob("*.py"):
        if path.parent != ROOT / "authorize":
            lines = makes_permits(ast.parse(path.read_text(encoding="utf-8")))
            assert not lines, f"{path.relative_to(ROOT)}: {lines}"


def test_within_the_package_it_is_made_in_one_module() -> None:
    makers = [
        path.name
        for path in (ROOT / "authorize").glob("*.py")
        if makes_permits(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert makers == ["authorizer.py"]


@pytest.mark.parametrize(
    "code",
    [
        "Permit(1, 2)",
        "permit.Permit(1)",
        "Permit.__new__(Permit)",
        "object.__new__(Permit)",
        "from sidecar.authorize.permit import SEAL",
        "from sidecar.authorize.permit import Permit as P",
        "import sidecar.authorize.permit as p",
        "class Mine(Permit): pass",
    ],
)
def test_the_search_finds_each_way(code: str) -> None:
    assert makes_permits(ast.parse(code))


@pytest.mark.parametrize("seal", [None, object(), "seal"])
def test_without_the_seal_there_is_no_permit(seal: object) -> None:
    with pytest.raises(TypeError, match=r"only sidecar\.authorize"):
        Permit(seal, ROUTE, None, Reason.PUBLIC, None, "", {}, 0.0)


def test_a_permit_tells_what_was_permitted() -> None:
    permit = Permit(SEAL, ROUTE, None, Reason.PUBLIC, None, "", {}, 0.0)
    assert repr(permit) == "<Permit r public for anybody>"
