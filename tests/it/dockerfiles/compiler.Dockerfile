# A program is made in one stage, tested in a second and shipped in a third.
FROM localhost/base:1 AS builder
WORKDIR /src
COPY app/ ./
RUN mkdir -p /out/bin && \
    # what a compiler would do
    cat main.c lib/util.c > /out/bin/program && \
    chmod 0755 /out/bin/program

FROM builder AS test
RUN test -x /out/bin/program && echo passed > /out/result

FROM localhost/base:1
LABEL org.opencontainers.image.title="program" \
      org.opencontainers.image.version="1.0"
COPY --from=builder /out/bin/program /usr/local/bin/program
COPY --from=test /out/result /
ENTRYPOINT ["/usr/local/bin/program"]
CMD ["--help"]
