
7
xPlaceholder*
dtype0*
shape:ÿÿÿÿÿÿÿÿÿ
$
RealRealx*

Tout0*
T0

yIdentityReal*
T0"Ê