"""What to try once everything runs."""

from pathlib import Path

_TOUR = """\
Sidecar runs at {url}, the demo application is behind it.

In another terminal:
  source {env}
  alice() {{ curl -i -H "Authorization: Bearer $ALICE_TOKEN" "$@"; }}   # admin
  bob()   {{ curl -i -H "Authorization: Bearer $BOB_TOKEN" "$@"; }}     # clerk
  carol() {{ curl -i -H "Authorization: Bearer $CAROL_TOKEN" "$@"; }}   # auditor, who is a reader

  curl -i $SIDECAR_URL/api/orders                    # 401: nobody
  alice $SIDECAR_URL/api/orders                      # 200
  bob -d '{{"item": "tea"}}' $SIDECAR_URL/api/orders   # 201: clerks create
  bob -X DELETE $SIDECAR_URL/api/orders/1            # 403: but do not delete
  carol $SIDECAR_URL/api/orders/1                    # 200: by an inherited role
  carol -d '{{"item": "tea"}}' $SIDECAR_URL/api/orders # 403
  alice -X DELETE $SIDECAR_URL/api/orders/1          # 204
  curl -i -H "Authorization: Bearer $MALLORY_TOKEN" $SIDECAR_URL/api/orders  # 401: disabled
  alice -N $SIDECAR_URL/events                       # one event a second, through the sidecar
  {command} admin session revoke --user bob   # then bob is 401 in all sidecars
  curl $SIDECAR_ADMIN_URL/metrics
  tail -f {folder}/audit.jsonl

In a browser: open {url}/healthz, and in its console
  document.cookie = "sidecar_session=" + "<the value of ALICE_TOKEN>; path=/"; location = "/"

Ctrl-C ends everything; users and sessions are kept in {folder}.
"""


def tour(*, url: str, folder: Path, command: str) -> str:
    """The text; paths as the reader may write them.

    Args:
        url: of the sidecar.
        folder: where everything is kept.
        command: how this very program is called.
    """
    return _TOUR.format(url=url, folder=folder, env=folder / "demo.env", command=command)
