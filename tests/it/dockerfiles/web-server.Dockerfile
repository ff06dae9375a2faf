FROM localhost/base:1
ENV SERVER_VERSION=1.25.3 \
    MODULES="http ssl"
RUN set -eux; \
    mkdir -p /var/cache/server /var/log/server /etc/server/conf.d; \
    ln -sf /dev/stdout /var/log/server/access.log; \
    ln -sf /dev/stderr /var/log/server/error.log; \
    echo "$MODULES $SERVER_VERSION" > /etc/server/modules
COPY conf/nginx.conf /etc/server/server.conf
COPY conf/*.conf /etc/server/conf.d/
COPY --chmod=755 scripts/run.sh /docker-entrypoint.sh
VOLUME /var/cache/server
EXPOSE 80 443/tcp 443/udp
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=30s --timeout=3s CMD wget -q -O /dev/null http://localhost/ || exit 1
ENTRYPOINT ["/docker-entrypoint.sh"]
CMD ["server", "-g", "daemon off;"]
