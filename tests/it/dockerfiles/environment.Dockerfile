FROM localhost/base:1 AS one
ENV A=1 B=2
ENV B=changed C=$B
FROM one
ENV PATH=/opt/bin:$PATH A=
ENV D=$C E="$A|$B"
RUN env | grep -E '^[A-E]=' > /seen
RUN A=inline; echo "$A" > /inline
