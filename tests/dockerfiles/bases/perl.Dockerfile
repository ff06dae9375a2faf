FROM localhost/stand-in/debian
WORKDIR /usr/src/app
CMD ["perl5.36.0","-de0"]
