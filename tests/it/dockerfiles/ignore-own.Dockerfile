#: -f own/Dockerfile
FROM localhost/base:1
COPY . /all/
