FROM localhost/stand-in/alpine
RUN apt-get update && apt-get install -y golang-go gcc libc6-dev git && rm -rf /var/lib/apt/lists/*
ENV GOPATH=/go GOTOOLCHAIN=local PATH=/go/bin:/usr/lib/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
RUN mkdir -p /go/src /go/bin && chmod -R 777 /go
WORKDIR /go
