FROM localhost/base:1
COPY links /links/
COPY hard /hard
RUN mkdir /real && ln -s /real /alias && ln -s real /relative
COPY app/README.md /alias/
COPY app/main.c /relative/main.c
COPY app/lib /alias
FROM localhost/base:1
COPY --from=0 /alias/README.md /followed
COPY --from=0 /links /links
COPY --from=0 /hard /hard
