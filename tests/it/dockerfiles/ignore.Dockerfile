FROM localhost/base:1
COPY . /all/
COPY conf /conf
