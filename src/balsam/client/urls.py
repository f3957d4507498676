"""Paths of the server's logins, under the names that scripts for Balsam 0.7 import."""

CHECK_LOGIN_FLOWS = "auth/how"
DEVICE_LOGIN = "auth/device/login"
DEVICE_TOKEN = "auth/device/token"
PASSWORD_LOGIN = "auth/password/login"
PASSWORD_REGISTER = "auth/password/register"
