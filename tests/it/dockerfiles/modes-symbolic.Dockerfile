# syntax=docker/dockerfile:1
FROM localhost/base:1
COPY --chmod=u=rwX,go=rX conf/private.conf /one
COPY --chmod=a+x,go-r app/README.md /two
COPY --chmod=g+w,o= scripts/tool /three
ARG MODE=u+s
COPY --chmod=${MODE} scripts/run.sh /four
