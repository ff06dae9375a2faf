FROM localhost/stand-in/alpine
LABEL maintainer="a stand-in"
ENV NGINX_VERSION=1.22.1
RUN apt-get update && apt-get install -y nginx-light && rm -rf /var/lib/apt/lists/* \
    && mkdir -p /usr/share/nginx/html && echo welcome >/usr/share/nginx/html/index.html && touch /etc/nginx/conf.d/default.conf \
    && useradd -r -M -s /bin/false nginx && ln -sf /dev/stdout /var/log/nginx/access.log && ln -sf /dev/stderr /var/log/nginx/error.log
EXPOSE 80
STOPSIGNAL SIGQUIT
CMD ["nginx", "-g", "daemon off;"]
