from localhost/base:1 as base
env A=1
From base
Copy app/README.md /
label Some=thing
workdir /W
expose 1
cmd ["x"]
