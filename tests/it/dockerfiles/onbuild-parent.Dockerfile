FROM localhost/base:1
ONBUILD COPY package.json /usr/src/
ONBUILD RUN echo "built by a trigger" > /triggered
ONBUILD ENV TRIGGERED=yes
ONBUILD ARG FROM_TRIGGER=default
WORKDIR /usr/src
CMD ["start"]
