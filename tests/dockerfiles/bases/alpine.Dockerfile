FROM localhost/stand-in/debian
COPY --chmod=755 apk adduser addgroup /usr/local/sbin/
CMD ["/bin/sh"]
