/*
  Warnings:

  - A unique constraint covering the columns `[slug]` on the table `Product` will be added. If there are existing duplicate values, this will fail.
  - Added the required column `slug` to the `Product` table without a default value. This is not possible if the table is not empty.

*/
-- AlterTable
ALTER TABLE "Product" ADD COLUMN     "slug" TEXT;

-- Backfill: the SKU is unique, so the slug is too
UPDATE "Product"
SET "slug" = trim(BOTH '-' FROM regexp_replace(lower("name" || '-' || "sku"), '[^a-z0-9]+', '-', 'g'))
WHERE "slug" IS NULL;

-- AlterTable
ALTER TABLE "Product" ALTER COLUMN "slug" SET NOT NULL;

-- CreateIndex
CREATE UNIQUE INDEX "Product_slug_key" ON "Product"("slug");
