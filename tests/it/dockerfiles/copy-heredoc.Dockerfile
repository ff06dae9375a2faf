# syntax=docker/dockerfile:1
FROM localhost/base:1
ARG NAME=value
COPY <<END /one
name = $NAME
END
COPY <<'END' /two
name = $NAME
END
COPY --chmod=750 --chown=3:4 <<first.sh <<second.sh /scripts/
#!/bin/sh
echo first
first.sh
#!/bin/sh
echo second
second.sh
COPY app/README.md <<beside /mixed/
beside it
beside
