# syntax=docker/dockerfile:1
FROM localhost/base:1
RUN mkdir -p /opt/tool && echo old > /opt/tool/run.sh && echo other > /opt/tool/other
COPY --link scripts/run.sh /opt/tool/
COPY --link --chown=9:9 app /linked/
ADD --link archives/plain.tar /unpacked/
