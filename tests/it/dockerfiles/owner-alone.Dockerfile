FROM localhost/base:1
RUN echo 'app:x:1000:1001:App:/:/bin/sh' >> /etc/passwd
COPY --chown=7 app/README.md /by-number
COPY --chown=app app/README.md /by-name
