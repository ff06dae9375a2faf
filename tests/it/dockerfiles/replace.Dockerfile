FROM localhost/base:1
RUN echo file > /file && ln -s /file /link && mkdir /folder && echo in > /folder/in
COPY app/README.md /file
COPY app/README.md /link
COPY app/README.md /folder
