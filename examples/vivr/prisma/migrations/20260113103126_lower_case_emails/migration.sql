-- Sign-in compares in lower case since this release
UPDATE "User"
SET "email" = lower("email"), "updatedAt" = CURRENT_TIMESTAMP
WHERE "email" <> lower("email");
