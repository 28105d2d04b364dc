/*
  Warnings:

  - Made the column `orderNumber` on table `Order` required, but there are existing NULL values. This will fail if there are existing NULL values in that column.

*/
-- Orders from before the number existed get one in the sequence of their creation
UPDATE "Order" o
SET "orderNumber" = 'V-' || lpad(n."position"::text, 10, '0')
FROM (
    SELECT "id", row_number() OVER (ORDER BY "createdAt", "id") AS "position"
    FROM "Order"
    WHERE "orderNumber" IS NULL
) n
WHERE o."id" = n."id";

-- AlterTable
ALTER TABLE "Order" ALTER COLUMN "orderNumber" SET NOT NULL;
