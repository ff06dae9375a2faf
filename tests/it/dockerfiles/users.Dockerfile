FROM localhost/base:1
RUN echo 'staff:x:50:app' >> /etc/group && echo 'app:x:1000:1001:App:/home/app:/bin/sh' >> /etc/passwd \
 && echo 'app:x:1001:' >> /etc/group && mkdir -p /home/app && chown app:app /home/app && mkdir -m 1777 /shared
USER app
RUN id -u > /shared/by-name; id -g >> /shared/by-name; id -G >> /shared/by-name; touch /home/app/mine
USER app:staff
RUN id -u > /shared/with-group; id -g >> /shared/with-group; touch /shared/staffs
USER 2000
RUN id -u > /shared/by-number; id -g >> /shared/by-number
USER 3000:4000
RUN id -u > /shared/by-numbers; id -g >> /shared/by-numbers
ARG WHO=app
USER ${WHO}
