FROM localhost/base:1
RUN mkdir /data && echo kept > /data/file
VOLUME /data
VOLUME ["/logs", "/with space"]
VOLUME /one /two
ARG WHERE=/variable
VOLUME $WHERE
