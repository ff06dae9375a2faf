FROM localhost/base:1
RUN mkdir -p /a/b /c /d && echo 1 > /a/b/file && echo 2 > /c/file && echo 3 > /d/file && echo 4 > /e
RUN rm -r /a/b && rm /c/file && rm -r /d && rm /e
RUN mkdir /a/b && echo new > /a/b/other && mkdir /e && echo folder > /e/in && echo file > /d
RUN rm -r /e && ln -s /a /e && rm /bin/true && rm -rf /www
COPY app /c
RUN rm -r /c/lib && rm -rf /root && mkdir -m 711 /root
