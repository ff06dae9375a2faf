FROM localhost/base:1
COPY --chmod=0640 app/README.md /one
COPY --chmod=755 scripts/run.sh scripts/tool /bin2/
ADD --chmod=4755 scripts/tool /setuid
COPY --chmod=600 --chown=5:6 app/README.md /both
