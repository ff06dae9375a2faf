FROM localhost/base:1
USER 1000:1001
WORKDIR /work/inner
COPY app/README.md .
