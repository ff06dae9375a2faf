# syntax=docker/dockerfile:1
FROM localhost/base:1
ADD http://127.0.0.1:8765/app/README.md /folder/
ADD http://127.0.0.1:8765/app/README.md /name
ADD --chown=3:4 http://127.0.0.1:8765/app/main.c http://127.0.0.1:8765/app/lib/util.h /several/
ADD --chmod=755 http://127.0.0.1:8765/scripts/run.sh /bin/run
ADD http://127.0.0.1:8765/archives/tree.tar.gz /packed/
WORKDIR /work
ADD http://127.0.0.1:8765/conf/site.conf conf/site.conf .
ARG FILE=nginx.conf
ADD http://127.0.0.1:8765/conf/$FILE ./etc/
