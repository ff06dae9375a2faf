FROM localhost/base:1
RUN echo one > /one && ln /one /two && ln /one /three && mkdir /d && ln /two /d/four
RUN ln /one /later && ln -s nowhere /dangling && ln -s ../d/four /d/link && mkfifo /fifo && mkfifo -m 600 /d/fifo2
RUN cp /bin/busybox /su && chmod 4755 /su && chmod 2755 /d && mkdir -m 3770 /sticky && chown 10:20 /sticky && chmod 3770 /sticky
RUN chmod u+s /two; chown -h 5:6 /dangling; touch -d '2001-02-03 04:05:06' /one
RUN touch '/ leading' '/new
line' '/ümläut' '/a*b' '/back\slash'
