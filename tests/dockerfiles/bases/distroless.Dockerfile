FROM localhost/stand-in/debian AS packages
FROM scratch
COPY --from=packages /etc/passwd /etc/group /etc/os-release /etc/
COPY --from=packages /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=packages --chown=65532:65532 /etc/skel /home/nonroot
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 0
WORKDIR /
