#: --secret id=password,src=password.txt
# syntax=docker/dockerfile:1
FROM localhost/base:1
RUN --mount=type=secret,id=password wc -c < /run/secrets/password > /one
RUN --mount=type=secret,id=password,target=/etc/password,mode=0440,uid=7,gid=8 stat -c '%a %u %g' /etc/password > /two
RUN --mount=type=secret,id=missing test ! -e /run/secrets/missing && echo absent > /three
