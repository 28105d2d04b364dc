-- CreateEnum
CREATE TYPE "ProductStatus" AS ENUM ('DRAFT', 'ACTIVE', 'RETIRED');

-- DropIndex
DROP INDEX "Product_categoryId_idx";

-- AlterTable
ALTER TABLE "Product" ADD COLUMN     "status" "ProductStatus" NOT NULL DEFAULT 'ACTIVE';

-- CreateIndex
CREATE INDEX "Product_categoryId_status_idx" ON "Product"("categoryId", "status");

-- Products that nobody can buy any more
UPDATE "Product" p
SET "status" = 'RETIRED', "updatedAt" = CURRENT_TIMESTAMP
FROM "Inventory" i
WHERE i."productId" = p."id" AND i."quantity" = 0 AND p."updatedAt" < CURRENT_TIMESTAMP - INTERVAL '1 year';
