"""The page at ``/``: who the proxy says is asking, and the application's routes to try."""

import base64
import hashlib
import html

from aiohttp import web

routes = web.RouteTableDef()

_STYLE = """
:root { color-scheme: light dark; --ink: #1b2430; --soft: #5c6b7d; --paper: #f4f6f9;
  --card: #fff; --line: #dce2ea; --blue: #0b5cad; --good: #0a7a3d; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7ecf2; --soft: #9aa8b8; --paper: #12171d;
  --card: #1b222b; --line: #303a46; --blue: #7ab8ff; --good: #5fd08f; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 46rem; margin: 0 auto; padding: 3rem 1.25rem; }
h1 { margin: 0 0 .25rem; font-size: 1.75rem; letter-spacing: -.02em; }
h2 { margin: 0 0 .75rem; font-size: 1rem; }
p { margin: 0 0 1rem; color: var(--soft); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 1.25rem; margin-top: 1.25rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .35rem 1rem; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; font-weight: 600; }
ul { list-style: none; margin: 0; padding: 0; display: grid; gap: .5rem; }
a { color: var(--blue); }
li { display: flex; gap: .75rem; align-items: baseline; flex-wrap: wrap; }
button { font: 600 .85rem/1 ui-monospace, monospace; padding: .55rem .7rem; border-radius: 8px;
  border: 1px solid var(--line); background: var(--paper); color: var(--blue); cursor: pointer; }
button:hover { border-color: var(--blue); }
button:focus-visible { outline: 2px solid var(--blue); outline-offset: 2px; }
li span { color: var(--soft); font-size: .9rem; }
output { display: block; margin-top: 1rem; min-height: 1.5rem; font: .85rem/1.5 ui-monospace,
  monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
output b { color: var(--good); } output.refused b { color: var(--bad); }
"""

_SCRIPT = """
const answer = document.querySelector('output');
for (const button of document.querySelectorAll('button')) {
  button.addEventListener('click', async () => {
    const [method, path] = button.textContent.split(' ');
    const options = { method };
    if (path === '/api/orders' && method === 'POST') {
      options.body = JSON.stringify({ item: 'from the page', quantity: 1 });
      options.headers = { 'Content-Type': 'application/json' };
    } else if (method === 'POST') { options.body = 'x'.repeat(100000); }
    try {
      const response = await fetch(path, options);
      const status = document.createElement('b');
      status.textContent = `${response.status} ${response.statusText}`;
      answer.className = response.ok ? '' : 'refused';
      answer.replaceChildren(status, '\\n' + (await response.text()).slice(0, 2000));
    } catch (error) {
      answer.className = 'refused';
      answer.textContent = String(error);
    }
  });
}
"""

# Method and path of each button, and what it is for.
_TRIES = (
    ("GET /api/orders", "list the orders"),
    ("POST /api/orders", "create one"),
    ("GET /api/orders/1", "read the first"),
    ("DELETE /api/orders/1", "delete the first"),
    ("POST /upload", "send 100 000 bytes"),
    ("GET /echo", "what the application received"),
)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Orders</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<main>
<h1>Orders</h1>
<p>This application knows nothing of authorization. It believes what the sidecar tells it.</p>
<section>
<h2>Who is asking</h2>
<dl>
<dt>User</dt><dd>{user}</dd>
<dt>Tenant</dt><dd>{tenant}</dd>
<dt>Roles</dt><dd>{roles}</dd>
</dl>
</section>
<section>
<h2>Try</h2>
<ul>
{tries}
</ul>
<output aria-live="polite"></output>
</section>
<section>
<h2>Long and large</h2>
<ul>
<li><a href="/events">/events</a><span>one event a second</span></li>
<li><a href="/download?bytes=1000000">/download?bytes=1000000</a><span>one megabyte</span></li>
</ul>
</section>
</main>
<script>{script}</script>
</body>
</html>
"""


def _source(text: str) -> str:
    """A Content-Security-Policy source that allows exactly this text (CSP 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_POLICY = (
    f"default-src 'none'; style-src {_source(_STYLE)}; script-src {_source(_SCRIPT)}; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TRY_LIST = "\n".join(
    f'<li><button type="button">{what}</button><span>{why}</span></li>' for what, why in _TRIES
)


def rendered(user: str, tenant: str, roles: str) -> str:
    """The page; the three values are escaped."""
    return _PAGE.format(
        style=_STYLE,
        script=_SCRIPT,
        tries=_TRY_LIST,
        user=html.escape(user) or "nobody (no sidecar in front?)",
        tenant=html.escape(tenant) or "none",
        roles=html.escape(roles) or "none",
    )


@routes.get("/")
async def front(request: web.Request) -> web.Response:
    """The page."""
    fields = request.headers
    text = rendered(
        *(fields.get(name, "") for name in ("X-Auth-User", "X-Auth-Tenant", "X-Auth-Roles"))
    )
    return web.Response(
        text=text,
        content_type="text/html",
        headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"},
    )
