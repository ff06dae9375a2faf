FROM localhost/base:1
WORKDIR /one
WORKDIR two
WORKDIR ../three
RUN pwd > /pwd
ENV DIR=/var/made
WORKDIR ${DIR}/${UNSET:-sub}
RUN touch here
WORKDIR /etc
WORKDIR ./skel/.
RUN pwd >> /pwd
WORKDIR /a//b/
