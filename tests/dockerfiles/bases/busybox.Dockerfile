FROM localhost/stand-in/debian AS packages
RUN apt-get update && apt-get install -y busybox-static
RUN mkdir -p /root-of/bin /root-of/tmp /root-of/root /root-of/var /root-of/etc /root-of/home /root-of/run && chmod 1777 /root-of/tmp \
    && cp /bin/busybox /root-of/bin/ && for applet in $(/bin/busybox --list); do [ "$applet" = busybox ] || ln -s busybox "/root-of/bin/$applet"; done \
    && printf 'root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nbin:x:2:2:bin:/bin:/bin/false\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n' >/root-of/etc/passwd \
    && printf 'root:x:0:\ndaemon:x:1:\nbin:x:2:\nusers:x:100:\nwww-data:x:33:\nnobody:x:65534:\nnogroup:x:65533:\n' >/root-of/etc/group
FROM scratch
COPY --from=packages /root-of/ /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
CMD ["sh"]
