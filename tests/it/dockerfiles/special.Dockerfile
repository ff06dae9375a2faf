FROM localhost/base:1
# Hard links are made where the file is: a later RUN would have a copy of its own, with overlayfs.
RUN echo one > /one && ln /one /two && ln /one /three && mkdir /d && ln /two /d/four && chmod u+s /two
RUN ln -s nowhere /dangling && ln -s ../d/four /d/link && mkfifo /fifo && mkfifo -m 600 /d/fifo2 && chown -h 5:6 /dangling
RUN cp /bin/busybox /su && chmod 4755 /su && chmod 2755 /d && mkdir -m 3770 /sticky && chown 10:20 /sticky && chmod 3770 /sticky
RUN touch '/ leading' '/ümläut' '/a*b' '/back\slash' && touch -d '2001-02-03 04:05:06' /su
