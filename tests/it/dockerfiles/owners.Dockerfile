FROM localhost/base:1
RUN echo 'app:x:1000:1001:App:/:/bin/sh' >> /etc/passwd && echo 'staff:x:50:' >> /etc/group
COPY --chown=app:staff app /app
COPY --chown=7:8 conf /conf
COPY --chown=app:8 scripts/run.sh /mixed
COPY --chown=7:staff scripts/run.sh /mixed2
ARG OWNER=12
COPY --chown=${OWNER}:${OWNER} app/README.md /
ADD --chown=3:4 scripts /scripts
