FROM localhost/base:1
SHELL ["/bin/sh", "-e", "-x", "-c"]
RUN echo $- > /flags
CMD echo started
SHELL ["/bin/busybox", "ash", "-c"]
RUN echo $- > /others
ENTRYPOINT echo entered
