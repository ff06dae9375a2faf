FROM localhost/base:1
ENTRYPOINT ["entry"]
