# syntax=docker/dockerfile:1
FROM localhost/base:1
ADD git://127.0.0.1/app.git#main /src/
ADD --chown=3:4 git://127.0.0.1/app.git#main:lib /lib-only/
