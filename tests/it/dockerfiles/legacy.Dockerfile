FROM localhost/base:1
MAINTAINER Somebody <somebody@example.org>
ENV LEGACY the rest of the line
ENV QUOTED "in quotes" and  more
LABEL legacy some   words
ENV lower=case
EXPOSE 8080
RUN ["/bin/sh", "-c", "echo $LEGACY > /legacy; echo $QUOTED >> /legacy"]
CMD echo "$LEGACY"
