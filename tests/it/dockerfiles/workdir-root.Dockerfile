FROM localhost/base:1 AS made
RUN echo made > /made
FROM scratch
USER root
WORKDIR /by/name
USER root:root
WORKDIR /by/both
COPY --from=made --chown=root:root /made copied
USER 0
WORKDIR /by/number
USER 9999
WORKDIR /by/other/number
USER 9999:5
WORKDIR /by/other/numbers
