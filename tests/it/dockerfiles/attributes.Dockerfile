FROM localhost/base:1
COPY attributes /attributes
FROM localhost/base:1
COPY --from=0 /attributes/file /copied
