FROM localhost/base:1
RUN echo shell > /shell && echo "$0" >> /shell
RUN ["/bin/busybox", "sh", "-c", "echo exec > /exec; echo $0 $1 >> /exec", "zero", "one"]
RUN [ "touch", "/a name", "/b\tname" ]
RUN pwd > /pwd; umask > /umask
RUN echo a \
  b \

  c > /continued
RUN [ -e /shell ] && echo "a test, not JSON" > /bracket
run echo lower > /lower
