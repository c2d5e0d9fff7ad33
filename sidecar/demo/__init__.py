"""A demonstration: an application that knows nothing of authorization.

`application` and the modules it names are that application: it runs in its own process
(``python -m sidecar.demo``), believes the identity fields it is given, and refuses nobody.
"""
