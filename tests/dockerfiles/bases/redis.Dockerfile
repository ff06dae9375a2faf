FROM localhost/stand-in/alpine
RUN groupadd -r -g 999 redis && useradd -r -g redis -u 999 redis
RUN apt-get update && apt-get install -y redis-server && rm -rf /var/lib/apt/lists/*
RUN mkdir /data && chown redis:redis /data
VOLUME /data
WORKDIR /data
EXPOSE 6379
CMD ["redis-server"]
