FROM localhost/base:1
HEALTHCHECK --retries=9 CMD first
HEALTHCHECK --interval=5s CMD second && third
