FROM localhost/stand-in/alpine
ENV HTTPD_PREFIX=/usr/local/apache2 PATH=/usr/local/apache2/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
RUN mkdir -p /usr/local/apache2/htdocs /usr/local/apache2/conf && echo works >/usr/local/apache2/htdocs/index.html && touch /usr/local/apache2/conf/httpd.conf
WORKDIR /usr/local/apache2
STOPSIGNAL SIGWINCH
EXPOSE 80
CMD ["httpd-foreground"]
