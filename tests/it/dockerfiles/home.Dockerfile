FROM localhost/base:1
RUN echo 'app:x:1000:1000:App:/home/app:/bin/sh' >> /etc/passwd && mkdir -p /home/app && chown 1000 /home/app
RUN echo "$HOME" > /home-of-root
USER app
RUN echo "$HOME" > "$HOME/home" && echo ~ > ~/tilde
