FROM localhost/base:1 AS build
RUN mkdir -p /out/etc && echo binary > /out/program && chmod 0755 /out/program && grep nobody /etc/passwd > /out/etc/passwd

FROM scratch
COPY --from=build /out/ /
COPY --from=build /bin/busybox /bin/
USER 65534:65534
ENTRYPOINT ["/program"]
