FROM localhost/stand-in/alpine
RUN apt-get update && apt-get install -y apache2 libapache2-mod-php && rm -rf /var/lib/apt/lists/* && rm -f /var/www/html/index.html
ENV PHP_INI_DIR=/usr/local/etc/php APACHE_CONFDIR=/etc/apache2 APACHE_ENVVARS=/etc/apache2/envvars
RUN mkdir -p /usr/local/etc/php && touch /usr/local/etc/php/php.ini-production /usr/local/etc/php/php.ini-development
WORKDIR /var/www/html
STOPSIGNAL SIGWINCH
EXPOSE 80
CMD ["apache2-foreground"]
